_base_ = './margin.py'

# from the weights of the first run, with a fresh optimizer: constant, then half a cosine to zero
train_cfg = dict(max_epochs=35, val_interval=8)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=14,
        end=35,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/anneal_mild/epoch_2.pth'
